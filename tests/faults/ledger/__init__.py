"""An app of the sites under test: tools that write something down, where a test can stop them half-way."""
