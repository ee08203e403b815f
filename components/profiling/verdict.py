"""The verdict on a training's steps: what they wait for most, in one sentence, by the shares of their time."""

from components.profiling.reading import OTHER, Recorded

SMALL_S = 20e-6
"""The seconds of a call below which calling an operation takes as long as what it does."""


def verdict(recorded: Recorded, *, product_rate: float | None) -> str:
    """Say what binds; `product_rate` is the share of the machine's limit that the products reach while they run."""
    shares = recorded.shares
    small = [operation for operation in recorded.operations if not operation.is_product]
    num_calls = sum(operation.calls for operation in small)
    call_s = sum(operation.step_s for operation in small) / max(1.0, num_calls)
    passes = shares["forward"] + shares["backward"]
    products = min(recorded.product_share, passes)
    parts = {name: shares[name] for name in ("data", "optimizer", OTHER)}
    parts |= {"products": products, "small": passes - products}
    most = max(parts, key=lambda name: parts[name])
    share = f"{parts[most]:.0%} of a step"
    if most == "data":
        return f"Data binds: a step waits for its batch for {share}; shorter texts or simpler augmentation help."
    if most == "optimizer":
        return f"The optimizer binds: the update of the weights takes {share}; a larger batch needs fewer of them."
    if most == OTHER:
        return f"The loop itself binds: {share} is in none of its phases; a larger batch needs fewer steps."
    if most == "products":
        rate = f", at {product_rate:.0%} of the machine's limit while they run" if product_rate else ""
        return f"Matrix products bind: they take {share}{rate}."
    if call_s < SMALL_S:
        return (
            f"Small operations bind: what is no matrix product takes {share}, in {num_calls:,.0f} calls of "
            f"{call_s * 1e6:.0f} µs; a larger batch does more in each."
        )
    dearest = ", ".join(operation.name.removeprefix("aten::") for operation in small[:3])
    return f"Memory binds: what moves and adds up numbers beside the matrix products takes {share} ({dearest})."
