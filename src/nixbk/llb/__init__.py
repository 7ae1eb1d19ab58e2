"""BuildKit's LLB: operations, marshalling, text form. Pure."""
