"""The functions host: codebases served by functions-framework, as production serves them."""
