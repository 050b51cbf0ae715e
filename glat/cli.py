def main() -> None:
    print("glat")
