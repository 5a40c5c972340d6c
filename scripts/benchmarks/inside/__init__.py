"""What runs inside mitmdump for the load figures. A folder of its own, because mitmproxy puts the
folder of a script first on `sys.path`, and the benchmarks' own names are too general for that."""
