"""A replica on its way: the wire, who sends what to whom, and how it is checked on arrival."""
