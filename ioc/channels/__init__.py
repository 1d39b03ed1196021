"""How frames travel: one transport a module, behind the Receiver and Publisher protocols of base.py."""
