"""Who belongs to a group, how one becomes a member, what each may do (docs/group-format.md)."""
