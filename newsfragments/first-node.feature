A node runs: log in with any XMPP client, post, and be followed from other nodes and from stock Prosody and ejabberd servers.
