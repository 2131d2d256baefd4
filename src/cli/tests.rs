//! The command line as a whole: it parses, it explains itself, and it talks to a server.
