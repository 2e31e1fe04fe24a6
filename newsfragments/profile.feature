vCards, nicknames and pictures in all the forms in which clients look for them, and the words nick, bio, avatar and whois.
