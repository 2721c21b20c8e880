"""One entry point per task of the weekly run: parse the options, open the attempt, call intentrec, write."""
