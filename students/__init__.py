"""The students: tiny task models, one module each, behind the protocol in `students.protocol`."""
