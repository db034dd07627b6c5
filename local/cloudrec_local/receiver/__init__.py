"""The stack's callback receiver: checks what the operator delivers as an app should, and keeps it."""
