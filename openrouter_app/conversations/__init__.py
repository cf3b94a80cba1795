"""Conversations above their rows: what a page shows of the tree, what it is called, how it is exported.

Everything here reads rows and answers values; what runs say of themselves (states, statuses) is put in
one floor up.
"""
