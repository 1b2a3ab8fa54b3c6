"""Ways into other trainers, for who outgrows this one: our operations and rewards, in their interfaces."""
