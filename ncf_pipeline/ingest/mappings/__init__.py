"""How a shop's own export becomes invoice lines. The readers import this; nothing here imports a reader."""
