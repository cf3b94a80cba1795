"""What stands on a page: the values that templates and scripts are given. Views and tags render them."""
