"""Binary caches: their addresses, how they are asked, and what is believed of their answers."""
