"""Network boot: sets of files that any web server can hand out, and a server for trying them. Nothing here builds."""
