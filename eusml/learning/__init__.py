"""Networks: built, trained with exact resume, saved and asked. The only stage that uses torch."""
