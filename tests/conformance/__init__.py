"""Scripts that compare this server with material from elsewhere, given on the command line."""
