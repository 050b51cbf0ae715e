"""Train GL-AT: ``python train.py --backbone resnet38 --amp``; ``--help`` lists every flag.

Reads top to bottom: config, data, model, compile, loop, evaluate, checkpoint. `main` can be imported.
"""

import math
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from glat import data, run
from glat.backbones import sample_rate_hz_of
from glat.checkpoint import initialise, read_pretrained, settled
from glat.cli import parse_train_config, reporting_user_errors
from glat.config import TrainConfig, check
from glat.data import Batch
from glat.data.samplers import build_sampler
from glat.errors import UserError
from glat.evaluate import Evaluation, evaluate, remarks, table
from glat.kernels import implementations
from glat.machine import choose_model, choose_steps, device_name, opening_lines, pick_device, pick_precision, versions
from glat.model import build_model
from glat.progress import Progress
from glat.run_plots import Recorded, plot_curves
from glat.step import TrainingStep, learning_rate_factor, time_a_step

EVERY = ("log_every", "eval_every", "save_every")
console = Console(highlight=False, markup=False, soft_wrap=True)


def main(config: TrainConfig) -> Evaluation:
    """Train as `config` says, in its run folder, and return the last evaluation.

    Raises:
        UserError: bad input; nothing has been written then.
    """
    started = time.perf_counter()
    check(config)
    config, state = run.resumed(config)
    seed = config.optim.seed
    torch.manual_seed(seed)

    # The machine
    device = pick_device()
    precision = pick_precision(config.optim.amp, device)
    pretrained = read_pretrained(config.model.init_from) if config.model.init_from and state is None else None
    if pretrained is not None:
        config = replace(config, model=settled(config.model, pretrained))
    config = choose_model(config, device)
    torch.backends.cudnn.benchmark = True  # shapes never change inside the loop

    def autocast() -> AbstractContextManager[Any]:
        return torch.autocast(device.type, precision.dtype, enabled=precision.dtype is not None)

    # The data
    sample_rate_hz = sample_rate_hz_of(config.model.backbone)
    sets = data.load(**vars(config.data), sample_rate_hz=sample_rate_hz, seed=seed)
    train, classes = sets.train, sets.train.classes
    clip_samples = train.waves.shape[1]

    sampler = build_sampler("plain", train.targets, seed)

    def load_batch(rows: Tensor) -> Batch:
        batch = Batch(train.waves[rows], train.lengths[rows], train.targets.dense(rows).float())
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))

    # The model: two streams and the loss are one module, so that they compile as one
    raw_model = build_model(config.model, len(classes))
    raw_model.check_clip(clip_samples)
    raw_model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    if state is None:
        raw_model.estimate_normalizer(train.waves)
    if pretrained is not None:
        for line in initialise(raw_model, pretrained, config.model, classes):
            console.print(line)
    losses_of = TrainingStep(raw_model, config.optim).train()
    config = choose_steps(
        config, device, len(train), lambda size: time_a_step(losses_of, load_batch(torch.arange(size)), autocast)
    )
    optim, steps, batch_size = config.optim, config.optim.iterations or 0, config.optim.batch_size or 0
    trained = [p for p in raw_model.parameters() if p.requires_grad]
    learning_rate = optim.learning_rate
    assert learning_rate is not None
    optimiser = torch.optim.Adam(trained, lr=learning_rate, amsgrad=True, fused=device.type == "cuda")
    scaler = torch.amp.GradScaler(device.type, enabled=precision.loss_scale)
    if optim.compile == "on" or (optim.compile == "auto" and device.type == "cuda"):
        # The default casts the backward pass as the forward pass was, which autograd outside compile does not do.
        if hasattr(torch._functorch.config, "backward_pass_autocast"):  # newer than torch 2.10
            torch._functorch.config.backward_pass_autocast = "off"
        losses_of.compile(fullgraph=True)  # in place: state-dict names stay clean, raw_model stays uncompiled

    # The run's folder
    facts = versions() | {"device": device_name(device), "precision": precision.reason} | implementations(device.type)
    for line in opening_lines(config, device, precision, sets):
        console.print(line)
    folder = run.record(config, sets, facts)
    first_step = 0
    if state is not None:
        run.load_weights(raw_model, state["model"], folder / run.STATE)
        optimiser.load_state_dict(state["optimiser"])
        scaler.load_state_dict(state["scaler"])
        run.set_random_state(state["random"])
        sampler.restore(state["sampler"])
        first_step = state["step"]
        console.print(f"going on after step {first_step}")
    run.forget_metrics_after(folder, first_step if state else -1)
    curves = SummaryWriter(folder, purge_step=first_step + 1 if state else None)

    def log(step: int, **values: float) -> None:
        run.append_metrics(folder, step=step, **values)
        for name, value in values.items():
            curves.add_scalar(name, value, step)

    def evaluate_at(step: int) -> Evaluation:
        result = evaluate(raw_model, sets.evaluation, batch_size, device, autocast)
        if step > first_step or state is None:
            log(step, **{f"mAP_{name}": m.mean_ap for name, m in result.metrics.items()})
        console.print(f"step {step}: mAP " + ", ".join(f"{k} {m.mean_ap:.3f}" for k, m in result.metrics.items()))
        return result

    def save(step: int) -> None:
        run.save_weights(folder, raw_model)
        run.save_state(
            folder,
            {
                "step": step,
                "model": raw_model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "scaler": scaler.state_dict(),
                "random": run.random_state(),
                "sampler": sampler.state(),
            },
        )

    # The loop
    deadline = time.perf_counter() + 60 * (optim.max_minutes or float("inf"))
    result = evaluate_at(0) if state is None else None  # the untrained model: where the numbers start from
    with Progress(console, steps, first_step) as progress:
        for step in range(first_step, steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * learning_rate_factor(step, steps, optim.schedule)
            batch = load_batch(sampler.draw(batch_size))
            with autocast():
                losses = losses_of(batch)
            scaler.scale(losses.total).backward()
            scaler.step(optimiser)
            scaler.update()
            optimiser.zero_grad(set_to_none=True)

            done = step + 1
            last = done == steps or time.perf_counter() > deadline
            due = {name: last or done % (getattr(config.run, name) or steps) == 0 for name in EVERY}
            if due["log_every"] or due["save_every"]:  # never save what was not looked at
                total, global_, local_ = torch.stack(losses).tolist()  # the one wait for the device in an interval
                if not math.isfinite(total):
                    raise UserError(
                        f"the loss is {total} at step {done}; {folder} keeps the checkpoint before it: choose a lower "
                        "--learning-rate, or look for damaged recordings"
                    )
                rate = progress.report(done, batch_size, loss=total)
                log(done, loss=total, loss_global=global_, loss_local=local_, clips_per_second=rate)
            if due["eval_every"]:
                result = evaluate_at(done)
                progress.restart_clock()
            if due["save_every"]:
                save(done)
                progress.restart_clock()
            if last and done < steps:
                console.print(f"stopped after {optim.max_minutes:g} minutes (--max-minutes) at step {done} of {steps}")
                break
    curves.close()

    # What came out
    result = result or evaluate_at(steps)
    run.write_json(folder / "evaluation.json", result.to_json(classes))
    plot_curves([Recorded.of(folder)], folder / "curves.png")
    console.print(f"{config.model.backbone}, {result.clips} evaluation clips, {len(classes)} classes")
    console.print(table(result))
    for line in (*remarks(result, classes), *run.skipped_lines(sets.skipped)):
        console.print(line)
    console.print(f"{time.perf_counter() - started:.0f} s; use it: glat tag FILE --run {folder}")
    return result


if __name__ == "__main__":
    with reporting_user_errors():
        main(parse_train_config(sys.argv[1:]))
