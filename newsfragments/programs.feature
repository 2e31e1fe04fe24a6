Programs are told what happens: the tap, inside a firewall, turns a stream that goes outwards into local HTTP calls; webhooks are signed calls to programs that can be reached.
