"""Does the paper hold? Its tables and its Figure 2 on soundscapes of real recordings, at equal compute."""
