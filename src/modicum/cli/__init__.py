"""The command line, one file for each verb. What a verb needs is loaded when the verb is called."""
