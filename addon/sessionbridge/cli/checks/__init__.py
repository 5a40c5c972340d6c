"""What `sessionbridge doctor` looks at. A check changes nothing and calls no
model, but for `live`."""
