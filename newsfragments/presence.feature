New posts come by chat as one's presence says: at once, together after some minutes, or later; who was away is told how
much it was. `when`, `on` and `off` say otherwise, and `pubsub#show-values` does for feeds.
