"""Push a folder to the hub, as one commit."""

from pathlib import Path

from .. import __version__
from ..errors import UserError
from .fetch import RUN_FILES, page, talking

CARD = "README.md"


def push(folder: Path, name: str, *, private: bool, revision: str | None, overwrite: bool) -> tuple[str, list[str]]:
    """Make the repository where it is missing, and commit the files of a folder to it.

    One commit: who fetches meanwhile gets all of the old files or all of the new. Files of an earlier run that this
    one lacks (`RUN_FILES` only) are removed; a card that is there already stays, since people write into it.

    Args:
        folder: of `package`, with a card.
        name: owner/name.
        private: make the new repository private.
        revision: a branch, which is made where it is missing; None: main.
        overwrite: replace a card that is there, and a config.json of another program.

    Returns:
        The address of the commit, and what to say.

    Raises:
        UserError: no token, or one without the right; a name that is none; a repository that holds another program's
            model, or is public where `private` was asked; the hub cannot be reached.
    """
    notes = []
    with talking(name, revision) as hub:
        api = hub.HfApi(library_name="glat", library_version=__version__)
        if hub.get_token() is None:
            raise UserError(f"pushing to hf://{name} wants a token; log in with hf auth login, or set HF_TOKEN")
        api.create_repo(name, private=True if private else None, exist_ok=True)
        if private and not api.model_info(name).private:
            raise UserError(f"hf://{name} exists and is public; make it private on {page(name)}/settings first")
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        there = set(api.list_repo_files(name, revision=revision))
        if RUN_FILES[0] in there and not overwrite:
            found = Path(api.hf_hub_download(name, RUN_FILES[0], revision=revision))
            if b'"fingerprint"' not in found.read_bytes():
                raise UserError(f"hf://{name} holds another program's model; choose another name, or add --overwrite")
        files = sorted(path.name for path in folder.iterdir())
        if CARD in there and not overwrite:
            files.remove(CARD)
            notes.append(f"its {CARD} is left as it is, since people write into it; --overwrite writes it anew")
        gone = sorted((there & set(RUN_FILES)) - set(files))
        operations = [hub.CommitOperationAdd(file, str(folder / file)) for file in files]
        operations += [hub.CommitOperationDelete(file) for file in gone]
        commit = api.create_commit(name, operations, commit_message="Run of glat", revision=revision)
    return str(commit.commit_url), notes
