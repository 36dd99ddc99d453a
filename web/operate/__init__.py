"""What the operator's commands do, one small module each; the commands themselves only read arguments and print."""
