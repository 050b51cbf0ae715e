"""Tables of labels as programs and people write them."""

from cases.listing import two_classes


def table(root, change=lambda name, label: label, header="file,label", name="set.csv", line="{name},{label}"):
    """A table of ten recordings; `change`: (file, class) -> what stands in the cell."""
    two_classes(root)
    files = [(f"{label}/{label}{i}.wav", label) for label in "ab" for i in range(5)]
    lines = [header, *(line.format(name=file, label=change(file, label)) for file, label in files)]
    path = root / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def renamed(change):
    """The files are there under other names than the table says; `change`: name on the disk -> in the table."""

    def make(root):
        path = table(root)
        lines = path.read_text().splitlines()
        named = [f"{change(line.partition(',')[0])},{line.partition(',')[2]}" for line in lines[1:]]
        path.write_text("\n".join([lines[0], *named]) + "\n", encoding="utf-8")
        return path

    return make


def of_old_macs(root):
    path = table(root)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    return path


def numbers_with_gaps(root):
    gaps = ("0.wav", "1.wav")
    return table(root, lambda name, label: {"a": "3", "b": "4"}[label] + (".0" if name.endswith(gaps) else ""))


def column_a_class(root):
    return table(root, lambda name, label: "1," if label == "a" else ",1", header="file,a,b")


def spelt_twice(root):
    """One label, composed and decomposed, and with an invisible character."""
    forms = ("\u00c9pervier", "E\u0301pervier", "\u00c9per\u200bvier")
    return table(root, lambda name, label: forms[int(name[-5]) % 3] if label == "a" else label)


def negatives(root):
    """Two clips of no class."""
    return table(root, lambda name, label: "" if name in ("a/a0.wav", "b/b4.wav") else label)


def joined_by_comma(root):
    return table(root, lambda name, label: f'"{label},outdoor"')


def stretches(root):
    return table(root, header="file,label,start,end", line="{name},{label},0,2")


def of_two_cases(root):
    return table(root, lambda name, label: label.upper() if name.endswith(("0.wav", "1.wav")) else label)


def not_a_number(root):
    return table(root, lambda name, label: "nan" if name.endswith(("0.wav", "1.wav")) else label)


def lists_as_text(root):
    return table(root, lambda name, label: f"['{label}']")


def two_columns(root):
    return table(root, header="file,label,label", line="{name},{label},x")
