"""Train GL-AT: ``python train.py --backbone resnet38 --amp``; ``--help`` lists every flag.

On several GPUs: ``torchrun --nproc-per-node 8 train.py ...``. Reads top to bottom: config, data, model, compile, loop,
checkpoint, evaluate. `main` can be imported.
"""

import math
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from glat import data
from glat.backbones import sample_rate_hz_of
from glat.cli import reporting_user_errors
from glat.config import TrainConfig, check
from glat.data import choose_loader
from glat.data.loading.batches import Loading
from glat.data.loading.samplers import build_sampler
from glat.evaluation.score import Evaluation
from glat.kernels import implementations
from glat.machine import device_name, keep_freed_memory, peak_memory_bytes, pick_device, pick_precision, versions
from glat.model import build_model
from glat.ranks import ALONE, Ranks, joined
from glat.runs import folder as run
from glat.runs import lock
from glat.runs.pretrained import initialise, match_network, read_init_from
from glat.runs.results import of_ended
from glat.settings.training import parse_train_config
from glat.terminal import Console, Table
from glat.training import agreement, dry_run, loggers, remarked, results
from glat.training.augment import augmentation
from glat.training.calendar import Calendar
from glat.training.changed import ChangedFiles
from glat.training.compiling import CompiledStep, mode_for
from glat.training.evaluator import Evaluator
from glat.training.feed import Feed, SomeClips, load_batch
from glat.training.keeper import Keeper
from glat.training.learner import Learner
from glat.training.left_out import LeftOut
from glat.training.nan import BadSteps
from glat.training.progress import Progress
from glat.training.settings import choose_crops, choose_model, choose_steps, opening_lines, remark_lines
from glat.training.step import TrainingStep, time_a_step
from glat.training.stop import Output, Stop

console = Console(soft_wrap=True)


@lock.released()
@loggers.closed()
def main(config: TrainConfig, ranks: Ranks = ALONE, stop: Stop | None = None) -> Evaluation | None:
    """Train as `config` says, in its run folder, and return the last evaluation; None after a dry run.

    Args:
        stop: entered, where signals are to end this process; without it they are left alone.

    Raises:
        UserError: bad input, before anything is written; a loss that is not finite; a full disk.
        Stopped: a signal, after the run has saved itself.
    """
    stop = stop or Stop()
    stop.quiet, stop.leaving = not ranks.first, lock.release
    started = time.perf_counter()
    console.quiet = not ranks.first

    # Config: what was asked, or what the run to go on with has recorded; the rest is chosen for this machine
    check(config)
    ranks.agree(agreement.of_program, config)
    origins = config.origins
    config, checkpoint, notes = ranks.on_first(run.resumed, config)
    say(notes)
    ended = ranks.on_first(of_ended, config, checkpoint)
    if ended is not None:
        ranks.on_first(run.remove_leftovers, config.run.run_dir)
        say([ended.why, *results.lines(ended.evaluation, ended.classes, config, ended.best, started)])
        return ended.evaluation
    loggers.require(config.run.logger)
    torch.manual_seed(config.optim.seed)
    device = pick_device()
    precision = pick_precision(config.optim.amp, device, config.optim.amp_dtype)
    pretrained = read_init_from(config.model) if config.model.init_from and checkpoint is None else None
    if pretrained is not None:
        config = replace(config, model=match_network(config.model, pretrained))
    config = choose_model(config, device)
    if device.type == "cpu":
        keep_freed_memory()

    # Data: every rank draws the clips of the whole step and loads its own part
    rate, seed, feed_config = sample_rate_hz_of(config.model.backbone), config.optim.seed, config.feed
    sets = data.load(config.data, rate, loader=feed_config.loader, seed=seed, workers=feed_config.workers)
    ranks.agree(agreement.of_data, sets)
    train, classes = sets.train, sets.train.classes
    config = choose_crops(config, len(classes), origins)
    sampler = build_sampler(config.feed.sampler, train.targets, seed, train.places)
    left_out = LeftOut(sets.skipped)
    loading = Loading(feed_config.loader, feed_config.workers, left_out.report)
    load_rows = partial(load_batch, train, loading=loading, device=device)

    # Model: two streams and the loss are one module, so that they can compile as one
    model = build_model(config.model, len(classes))
    model.check_clip(train.clip_samples)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    if checkpoint is None:
        model.estimate_normalizer(SomeClips(train, loading, 2_000))
    if pretrained is not None:
        say(initialise(model, pretrained, config.model, classes))
    if config.optim.sync_batch_norm:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place below the model, which is no batch norm itself
    training_step = TrainingStep(model, config.optim, augmentation(config.feed, rate)).train()
    seconds_a_step = partial(time_a_step, training_step, load_rows, config.feed, len(train), precision)
    config = ranks.on_first(choose_steps, config, device, len(train), seconds_a_step, ranks.size)
    optim, steps, batch_size = config.optim, config.optim.iterations or 0, config.optim.batch_size or 0

    # Compile: what recurs between convolutions, or all as one graph; tried out before the run depends on it
    compiled = CompiledStep(training_step, mode_for(optim, device, model), optim, say)

    # The run: its learner, its feed of batches, its folder
    learner = Learner(compiled, model, optim, precision, device, ranks)
    progress = Progress(console, steps)
    new_feed = partial(
        Feed, train, sampler, loading, config.feed.drawn(batch_size), optim.accumulate, device, ranks, progress.waiting
    )
    part_size = batch_size // (ranks.size * optim.accumulate)
    some_rows = torch.arange(config.feed.drawn(part_size)) % len(train)
    try_compiled = partial(compiled.try_out, learner, partial(load_rows, some_rows))
    if config.run.dry_run:
        try_compiled()
        say([*remark_lines(sets), *run.skipped_lines(sets.skipped, listed="glat check-data lists all")])
        with closing(new_feed()) as feed:
            say(dry_run.lines(config, learner, training_step, feed.parts, len(train)))
        say(remarked.lines(loading.remarks.listed(), "of those that these steps heard; glat check-data hears all"))
        return None
    facts = versions() | {"device": device_name(device), "precision": precision.reason} | implementations(device.type)
    reader = choose_loader(train, loading.loader, device)
    say(
        [
            *opening_lines(config, device, precision, sets, reader, ranks.size, compiled.mode, origins),
            *remark_lines(sets),
        ]
    )
    folder = ranks.on_first(run.record, config, sets, facts, origins, checkpoint)
    stop.folder = folder
    changed = ChangedFiles(folder, sets.stamps)
    ranks.on_first(changed.since_the_start)
    calendar = Calendar(config.run, steps)
    keeper = Keeper(folder, config, facts, learner, calendar)
    say(keeper.restore(checkpoint, sampler))
    first_step, best = keeper.first_step, keeper.best
    try_compiled()
    ranks.on_first(compiled.record_in, folder)
    odd = remarked.Remarked(folder, sets, loading.remarks, ranks)
    bad_steps = BadSteps(folder, train.name_of, load_rows, learner, compiled)
    evaluator = Evaluator(learner, keeper, sets.evaluation, part_size, loading, console)

    # Loop
    deadline = time.perf_counter() + 60 * (optim.max_minutes or math.inf)
    # The untrained model, where the numbers start from; or what an earlier process did not come to.
    if best.due:
        evaluator.at(first_step)
    end = steps
    if best.exhausted(optim.patience) and first_step < steps:
        say([f"stopped after {best.why_idle()} at step {first_step} of {steps}"])
        end = first_step
    with closing(new_feed()) as feed, progress.after(first_step):
        for step in range(first_step, end):
            learner.learn(step, feed.parts(step))
            stop.unsaved()

            done = step + 1
            progress.step(done)
            # Signals and the clock reach every rank at another moment: the ranks agree on the step.
            number, late = ranks.most([stop.signal, time.perf_counter() > deadline])
            due = calendar.due(done, last=late > 0)
            if not (number or any(due)):
                continue
            readout = learner.look()  # never save or evaluate what was not looked at
            say(bad_steps.explain(readout, feed.take_heard()))
            if due.log:
                losses, learning_rate = readout.losses(), learner.learning_rate(step)
                rates = progress.report(done, batch_size, peak_memory_bytes(device), **losses)
                keeper.log(done, **losses, **rates, learning_rate=learning_rate, skipped_steps=readout.skipped)

            # Checkpoint
            if number or due.save:
                keeper.save(done, feed.state(), due.evaluate)
                odd.save()
                stop.saved(done, int(number))
                ranks.on_first(changed.look)

            # Evaluate
            if due.evaluate:
                evaluator.at(done)
            if due.save:
                progress.restart_clock()
            idle = best.exhausted(optim.patience)
            if (late or idle) and done < steps:
                why = f"{optim.max_minutes:g} minutes (--max-minutes)" if late else best.why_idle()
                say([f"stopped after {why} at step {done} of {steps}"])
                break

    # What came out
    result = evaluator.finish(end)
    ranks.on_first(changed.look, True)
    skipped = left_out.of_all(ranks)
    odd.save()
    keeper.finish(result, classes, skipped)
    stop.over()
    notes = [*run.skipped_lines(skipped), *odd.lines(), *evaluator.notes]
    say(results.lines(result, classes, config, (best.step, best.mean_ap), started, notes))
    return result


def say(lines: Iterable[str | Table]) -> None:
    """Print lines and tables, on rank 0."""
    for line in lines:
        console.print(line)


if __name__ == "__main__":
    with reporting_user_errors():
        asked = parse_train_config(sys.argv[1:])
        with Stop() as stop, joined() as ranks:
            console.file = Output(stop.output_closed)  # type: ignore[assignment]  # what rich calls of a file
            main(asked, ranks, stop)
