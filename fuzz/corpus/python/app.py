@app.route("/docs/x")
def docs():
    """A triple quoted text that is long enough: SSTI."""
    return "FLAG{not-a-placeholder}"
