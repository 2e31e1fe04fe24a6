One can mute a person, a domain, a tag, words or a conversation, for ever or for a time, and block people and domains in all directions, in chat and by XEP-0191.
