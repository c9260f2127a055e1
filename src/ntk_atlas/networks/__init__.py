"""Networks: many members of one architecture, stacked so that they train in batched matrix products."""
