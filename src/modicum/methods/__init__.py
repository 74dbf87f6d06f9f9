"""Methods: one method is one file, one class, one name; a folder for each family."""
