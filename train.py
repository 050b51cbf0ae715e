"""Train GL-AT: ``python train.py --backbone resnet38 --amp``; ``--help`` lists every flag.

On several GPUs: ``torchrun --nproc-per-node 8 train.py ...``. Reads top to bottom: config, data, model, compile, loop,
evaluate, checkpoint. `main` can be imported.
"""

import math
import sys
import time
from contextlib import closing
from dataclasses import replace

import torch
from rich.console import Console
from torch import Tensor, nn

from glat import data
from glat.backbones import sample_rate_hz_of
from glat.cli import parse_train_config, reporting_user_errors
from glat.config import TrainConfig, check
from glat.data import Batch, Skipped, choose_loader
from glat.data.loading.batches import Loading
from glat.data.loading.samplers import build_sampler
from glat.evaluation.score import Evaluation, evaluate, remarks, table
from glat.kernels import implementations
from glat.machine import device_name, keep_freed_memory, peak_memory_bytes, pick_device, pick_precision, versions
from glat.model import build_model
from glat.plots.runs import Recorded, plot_curves
from glat.ranks import ALONE, Ranks, joined
from glat.runs import folder as run
from glat.runs.pretrained import initialise, read_pretrained, settled
from glat.training import dry_run, nan
from glat.training.augment import augmentation
from glat.training.feed import Feed, SomeClips
from glat.training.feed import load as load_rows
from glat.training.keeper import Keeper
from glat.training.learner import Learner, Seen
from glat.training.progress import Progress
from glat.training.settings import choose_model, choose_steps, opening_lines
from glat.training.step import TrainingStep, time_a_step
from glat.training.stop import StopRequest

EVERY = ("log_every", "eval_every", "save_every")
console = Console(highlight=False, markup=False, soft_wrap=True)


def main(config: TrainConfig, ranks: Ranks = ALONE) -> Evaluation | None:
    """Train as `config` says, in its run folder, and return the last evaluation; None after a dry run.

    Raises:
        UserError: bad input, before anything is written; a loss that is not finite; a full disk.
        Stopped: SIGTERM or Ctrl-C, after the run has saved itself.
    """
    started = time.perf_counter()
    check(config)
    console.quiet = not ranks.first
    config, checkpoint, notes = ranks.on_first(run.resumed, config)
    for line in notes:
        console.print(line)
    seed = config.optim.seed
    torch.manual_seed(seed)

    # The machine
    device = pick_device()
    precision = pick_precision(config.optim.amp, device, config.optim.amp_dtype)
    pretrained = read_pretrained(config.model.init_from) if config.model.init_from and checkpoint is None else None
    if pretrained is not None:
        config = replace(config, model=settled(config.model, pretrained))
    config = choose_model(config, device)
    if device.type == "cpu":
        keep_freed_memory()
    torch.backends.cudnn.benchmark = True  # shapes never change inside the loop

    # The data: every rank draws the clips of the whole step, and loads its own
    sample_rate_hz = sample_rate_hz_of(config.model.backbone)
    in_memory = config.feed.in_memory()
    sets = data.load(**vars(config.data), sample_rate_hz=sample_rate_hz, seed=seed, in_memory=in_memory)
    train, classes = sets.train, sets.train.classes
    sampler = build_sampler(config.feed.sampler, train.targets, seed)
    lost: dict[Skipped, None] = {}  # recordings that went bad since they were opened

    def report(skipped: Skipped) -> None:
        if skipped not in lost:  # every evaluation meets it anew
            print(f"left out from here on: {skipped.file}: {skipped.reason}", file=sys.stderr)
        lost[skipped] = None

    loading = Loading("auto" if in_memory else config.feed.loader, config.feed.workers, report)

    # The model: two streams and the loss are one module, so that they compile as one
    raw_model = build_model(config.model, len(classes))
    raw_model.check_clip(train.clip_samples)
    raw_model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    if checkpoint is None:
        raw_model.estimate_normalizer(SomeClips(train, loading, 2_000))
    if pretrained is not None:
        for line in initialise(raw_model, pretrained, config.model, classes):
            console.print(line)
    if config.optim.sync_batch_norm:
        nn.SyncBatchNorm.convert_sync_batchnorm(raw_model)  # in place below the model, which is no batch norm itself
    losses_of = TrainingStep(raw_model, config.optim, augmentation(config.feed, sample_rate_hz)).train()

    def load(rows: Tensor) -> Batch:
        return load_rows(train, rows, loading, device)

    def seconds_a_step(size: int) -> float:
        rows = torch.arange(config.feed.drawn(size)) % len(train)
        return time_a_step(losses_of, load(rows), lambda: precision.autocast(device))

    config = ranks.on_first(choose_steps, config, device, len(train), seconds_a_step, ranks.size)
    optim, steps, batch_size = config.optim, config.optim.iterations or 0, config.optim.batch_size or 0
    part_size, eval_every = batch_size // (ranks.size * optim.accumulate), config.run.eval_every or steps
    if optim.compile != "off":
        # The default casts the backward pass as the forward pass was, which autograd outside compile does not do.
        if hasattr(torch._functorch.config, "backward_pass_autocast"):  # newer than torch 2.10
            torch._functorch.config.backward_pass_autocast = "off"
        # In place: state-dict names stay clean, and raw_model, which is evaluated, stays uncompiled.
        losses_of.compile(fullgraph=True, mode=optim.compile)
    learner = Learner(losses_of, raw_model, optim, precision, device, ranks)

    progress = Progress(console, steps)

    def feed_training() -> Feed:
        drawn = config.feed.drawn(batch_size)
        return Feed(train, sampler, loading, drawn, optim.accumulate, device, ranks, progress.waiting)

    if config.run.dry_run:
        with closing(feed_training()) as feed:
            for line in dry_run.lines(config, learner, losses_of, feed.parts, len(train)):
                console.print(line)
        return None

    # The run's folder
    facts = versions() | {"device": device_name(device), "precision": precision.reason} | implementations(device.type)
    reader = choose_loader(train, loading.loader, device)
    for line in opening_lines(config, device, precision, sets, reader, ranks.size):
        console.print(line)
    folder = ranks.on_first(run.record, config, sets, facts)
    keeper = Keeper(folder, config, facts, learner, checkpoint)
    first_step, best = keeper.first_step, keeper.best
    if keeper.sampler:
        sampler.restore(keeper.sampler)
    for line in keeper.notes:
        console.print(line)

    def evaluate_at(step: int) -> Evaluation:
        size = max(part_size, 16) if device.type == "cuda" else part_size  # a rank's few clips would starve a GPU
        result = evaluate(learner.evaluated_model, sets.evaluation, size, device, learner.autocast, ranks, loading)
        if step > best.last:
            best.note(step, result.metrics["fused"].mean_ap)
            keeper.log(step, **{f"mAP_{name}": m.mean_ap for name, m in result.metrics.items()})
            keeper.show(step, sets.evaluation)
        console.print(f"step {step}: mAP " + ", ".join(f"{k} {m.mean_ap:.3f}" for k, m in result.metrics.items()))
        return result

    def look(done: int) -> Seen:
        seen = learner.look()
        if (bad := seen.first_bad) is not None:
            rows = feed.heard[bad]
            console.print(ranks.on_first(nan.account_for, folder, bad, rows, train.names, load, learner, seen))
        feed.heard.clear()
        return seen

    # The loop
    deadline = time.perf_counter() + 60 * (optim.max_minutes or math.inf)
    # The untrained model, where the numbers start from; or what a signal left undone.
    result = evaluate_at(first_step) if first_step % eval_every == 0 and best.last < first_step else None
    end = first_step if best.exhausted(optim.patience) else steps
    with closing(feed_training()) as feed, StopRequest() as stop, progress.after(first_step):
        for step in range(first_step, end):
            learner.learn(step, feed.parts(step))

            done = step + 1
            # The clock and a signal reach every rank at a time of its own: they agree on the step.
            number, late = ranks.most([stop.signal, time.perf_counter() > deadline])
            last = done == steps or late > 0
            due = {name: last or done % (getattr(config.run, name) or steps) == 0 for name in EVERY}
            if number or any(due.values()):  # never evaluate or save what was not looked at
                seen = look(done)
            if number:
                keeper.save(done, feed.state())
                raise stop.stopped(int(number), done, folder)
            if due["log_every"] or due["save_every"]:
                losses = {"loss": seen.loss, "loss_global": seen.loss_global, "loss_local": seen.loss_local}
                rates = progress.report(done, batch_size, peak_memory_bytes(device), **losses)
                keeper.log(
                    done, **losses, **rates, learning_rate=learner.learning_rate(step), skipped_steps=seen.skipped
                )
            if due["eval_every"]:
                result = evaluate_at(done)
                last = last or best.exhausted(optim.patience)
            if last or due["save_every"] or best.step == done:
                keeper.save(done, feed.state())
            if due["eval_every"] or due["save_every"]:
                progress.restart_clock()
            if last and done < steps:
                idle = f"{best.since} evaluations without a better fused mAP (--patience)"
                why = f"{optim.max_minutes:g} minutes (--max-minutes)" if late else idle
                console.print(f"stopped after {why} at step {done} of {steps}")
                break

    # What came out
    result = result or evaluate_at(end)
    keeper.close()
    left_out = dict.fromkeys((*sets.skipped, *(skip for part in ranks.gather(tuple(lost)) for skip in part)))
    if ranks.first:
        run.write_json(folder / run.SKIPPED, [vars(skip) for skip in left_out])
        run.write_json(folder / "evaluation.json", result.to_json(classes))
        plot_curves([Recorded.of(folder)], folder / "curves.png")
    console.print(f"{config.model.backbone}, {result.clips} evaluation clips, {len(classes)} classes")
    console.print(table(result))
    for line in (*remarks(result, classes), *run.skipped_lines(tuple(left_out))):
        console.print(line)
    if best.step:
        console.print(f"best fused mAP {best.mean_ap:.3f} at step {best.step}: {run.BEST_WEIGHTS}")
    console.print(f"{time.perf_counter() - started:.0f} s; use it: glat tag FILE --run {folder}")
    return result


if __name__ == "__main__":
    with reporting_user_errors():
        asked = parse_train_config(sys.argv[1:])
        with joined() as ranks:
            main(asked, ranks)
