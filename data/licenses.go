package data

// builtins are the data sets that come with the program.
var builtins = []string{"licenses", "licenses-text"}
