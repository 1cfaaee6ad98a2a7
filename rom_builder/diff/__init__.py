"""Two ROMs side by side: what is worse for users, better, fixed and left."""
