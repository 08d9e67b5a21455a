"""A live torch twin that is not what its config says is refused, by place."""

from __future__ import annotations

import copy
import types

import pytest

from converters import ConversionError
from converters.sources.door import open_source
from converters.sources.live import unwrapped
from converters.sources.request import Asked
from converters.twins.live import check_twin, copy_of
from vit_config import DataConfig, ViTConfig

torch = pytest.importorskip("torch")
nn = torch.nn

CONFIG = ViTConfig(
    img_size=(16, 24),
    patch_size=(8, 4),
    embed_dim=24,
    depth=3,
    num_heads=4,
    mlp_dim=40,
    norm_eps=1e-6,
    num_classes=7,
    reg_tokens=2,
    init_values=0.1,
    qk_norm=True,
    drop_path_rate=0.2,
)


def twin(**changes):
    import torch_vit

    return torch_vit.ViT(CONFIG.replace(**changes))


def compiled_in_place(model):
    model.compile()


def training(model):
    model.train()
    model.blocks[1].eval()
    model(torch.zeros(1, 3, 16, 24)).sum().backward()


def settings(model):
    model.set_grad_checkpointing()
    model.blocks[2].attn.attn_impl = "explicit"


def half(model):
    model.bfloat16().requires_grad_(False)


def own_attributes(model):
    model.epoch, model.class_names = 3, ["a", "b"]


def labelled(model):
    model.config = model.config.replace(labels=tuple("abcdefg"))


def thinned(model):
    model.config = model.config.replace(drop_rate=0.25)
    model.head_drop.p = 0.25


def watched_gradients(model):
    model.blocks[0].register_full_backward_hook(lambda *given: None)


def tied(model):
    model.blocks[2].mlp.fc1.weight = model.blocks[0].mlp.fc1.weight


HARMLESS = [
    *(compiled_in_place, training, settings, half, own_attributes, labelled, thinned),
    *(watched_gradients, tied),
]


@pytest.mark.parametrize("use", HARMLESS)
def test_what_changes_no_output_is_no_difference(use):
    model = twin()
    use(model)
    check_twin(model)


@pytest.mark.parametrize(
    "changes",
    [
        {"global_pool": "map", "reg_tokens": 0, "class_token": False},
        {"distilled": True, "dist_token": True, "fc_norm": True, "head_act": "tanh"},
        {"patch_norm": "dual", "mlp_layer": "swiglu", "act_layer": "silu"},
        {"representation_size": 9, "qkv_bias": "qv", "pos_embed": "sincos"},
    ],
)
def test_a_new_twin_of_any_config_is_what_its_config_says(changes):
    check_twin(twin(**changes), gradients=True)


def epsilon(model):
    model.blocks[1].norm1.eps = 0.5


def heads(model):
    model.blocks[1].attn.num_heads = 2


def scale(model):
    model.blocks[0].attn.scale = 1.0


def activation(model):
    model.blocks[2].mlp.act = torch.tanh


def rate(model):
    model.head_drop.p = 0.5


def no_dropout(model):
    model.pos_drop = nn.Identity()


def other_norm(model):
    model.norm = nn.LayerNorm(24, eps=1e-3)


def no_norm(model):
    model.norm = None


def more_norm(model):
    model.fc_norm = nn.LayerNorm(24)


def more_layers(model):
    model.adapter = nn.Linear(24, 24)


def more_blocks(model):
    model.blocks.append(copy.deepcopy(model.blocks[0]))


def fewer_blocks(model):
    del model.blocks[2]


def hook(model):
    model.blocks[1].register_forward_hook(lambda module, x, y: 2 * y)


def hook_before(model):
    model.head.register_forward_pre_hook(lambda module, x: None, with_kwargs=False)


def hook_on_weights(model):
    model.register_state_dict_post_hook(lambda *given: None)


def forward(model):
    model.forward = lambda x: x.mean()


def method(model):
    model.blocks[1].attn.attend = types.MethodType(
        lambda self, qkv, taps: qkv[..., :24], model.blocks[1].attn
    )


def no_evaluation(model):
    model.eval = lambda: model


def parametrised(model):
    nn.utils.parametrizations.weight_norm(model.head)


def pruned(model):
    from torch.nn.utils import prune

    prune.l1_unstructured(model.head, "weight", 0.5)


def subclassed_block(model):
    class Adapted(type(model.blocks[1])):
        pass

    model.blocks[1].__class__ = Adapted


def half_block(model):
    model.blocks[1].mlp.fc2.half()


def other_config(model):
    model.config = model.config.replace(head_act="tanh", global_pool="avg")
    model.blocks[0].norm2.eps = 1e-3


def no_config(model):
    model.config = model.config.to_dict()


CHANGED = [
    (epsilon, {"blocks.1.norm1.eps": "0.5"}),
    (heads, {"blocks.1.attn.num_heads": "2"}),
    (scale, {"blocks.0.attn.scale": "1.0"}),
    (activation, {"blocks.2.mlp.act": "tanh"}),
    (rate, {"head_drop.p": "0.5"}),
    (no_dropout, {"pos_drop": "Identity"}),
    (other_norm, {"norm.eps": "0.001"}),
    (no_norm, {"norm": "None"}),
    (more_norm, {"fc_norm": "LayerNorm"}),
    (more_layers, {"adapter": "Linear"}),
    (more_blocks, {"blocks.3": "Block"}),
    (fewer_blocks, {"blocks.2": "nothing of that name"}),
    (hook, {"blocks.1": "a forward hook"}),
    (hook_before, {"head": "a forward pre hook"}),
    (hook_on_weights, {"": "a state dict hook"}),
    (forward, {"forward": "set on the object"}),
    (method, {"blocks.1.attn.attend": "set on the object"}),
    (no_evaluation, {"eval": "set on the object"}),
    (parametrised, {"head": "ParametrizedLinear"}),
    (
        pruned,
        {
            "head": "L1Unstructured",
            "head.weight": "Tensor",
            "head.weight_orig": "Parameter",
            "head.weight_mask": "Tensor",
        },
    ),
    (subclassed_block, {"blocks.1": "Adapted"}),
    (
        half_block,
        {f"blocks.1.mlp.fc2.{name}": "torch.float16" for name in ("weight", "bias")},
    ),
    (other_config, {"blocks.0.norm2.eps": "0.001", "patch_embed.config": "head_act"}),
    (no_config, {"config": "dict"}),
]


@pytest.mark.parametrize("change, found", CHANGED)
def test_what_could_change_an_output_is_named(change, found):
    model = twin()
    change(model)
    with pytest.raises(ConversionError) as error:
        check_twin(model)
    issues = {issue.name: issue.found for issue in error.value.issues}
    assert issues.keys() == found.keys()
    assert all(words in issues[name] for name, words in found.items())


@pytest.mark.parametrize(
    "change, name",
    [
        (watched_gradients, "blocks.0"),
        (tied, "blocks.2.mlp.fc1.weight"),
        (lambda m: m.cls_token.register_hook(lambda g: 2 * g), "cls_token"),
    ],
)
def test_what_changes_gradients_alone_is_named_where_they_count(change, name):
    model = twin()
    change(model)
    check_twin(model)
    with pytest.raises(ConversionError) as error:
        check_twin(model, gradients=True)
    assert [issue.name for issue in error.value.issues] == [name]


def test_a_subclass_may_add_and_not_replace():
    import torch_vit

    class Trained(torch_vit.ViT):
        def training_step(self, batch):
            return self(batch)

    class Changed(torch_vit.ViT):
        def forward_head(self, x, pre_logits=False):
            return 2 * super().forward_head(x, pre_logits)

    check_twin(Trained(CONFIG))
    with pytest.raises(ConversionError, match=r"forward_head .*defined by .*Changed"):
        check_twin(Changed(CONFIG))


@pytest.mark.parametrize(
    "kind, name", [("torch_vit", "_pool"), ("torch.nn", "LayerNorm")]
)
def test_methods_put_into_a_class_are_named(monkeypatch, kind, name):
    import torch_vit

    owner = torch_vit.ViT if kind == "torch_vit" else nn.LayerNorm
    method = name if kind == "torch_vit" else "forward"
    monkeypatch.setattr(owner, method, lambda self, x: x)
    with pytest.raises(ConversionError, match=rf"\.{method} .*defined in {__name__}"):
        check_twin(twin())


def test_hooks_around_every_module_are_named():
    handle = nn.modules.module.register_module_forward_hook(lambda module, x, y: None)
    try:
        with pytest.raises(ConversionError, match="global forward hook"):
            check_twin(twin())
    finally:
        handle.remove()
    check_twin(twin())


def test_the_error_says_how_each_change_goes_away():
    model = twin()
    hook(model)
    forward(model)
    parametrised(model)
    more_layers(model)
    with pytest.raises(ConversionError) as error:
        check_twin(model)
    for words in (
        "handle.remove()",
        "del removes",
        "remove_parametrizations",
        "config",
    ):
        assert words in error.value.hint


def test_the_preprocessing_of_a_pipeline_counts():
    import torch_vit

    data = DataConfig(
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.2, 0.2),
        input_range=(0, 1),
        interpolation="bicubic",
        crop_pct=1.0,
        crop_mode="center",
    )
    pipeline = torch_vit.Pipeline(twin(data=data))
    check_twin(pipeline)
    plan = torch_vit.Preprocess(
        CONFIG.replace(data=data.model_copy(update={"mean": (0.1, 0.2, 0.3)}))
    ).plan
    pipeline.preprocess.plan = plan
    with pytest.raises(ConversionError, match=r"preprocess\.plan"):
        check_twin(pipeline)


def test_a_copy_has_all_of_a_twin_and_shares_nothing_with_it():
    model = twin().bfloat16().eval()
    settings(model)
    model.blocks[1].requires_grad_(False)
    copied = copy_of(model)
    check_twin(copied)
    assert copied.grad_checkpointing and copied.blocks[2].attn.attn_impl == "explicit"
    for weight, own in zip(copied.parameters(), model.parameters(), strict=True):
        assert torch.equal(weight, own) and weight.dtype == own.dtype
        assert weight.requires_grad == own.requires_grad
        assert weight.data_ptr() != own.data_ptr()


def test_wrappers_are_taken_off_unless_they_have_hooks():
    model = twin()
    wrapped = torch.nn.DataParallel(torch.compile(model))
    assert unwrapped(wrapped) is model
    wrapped.register_forward_hook(lambda module, x, y: 2 * y)
    with pytest.raises(ConversionError, match="a hook"):
        unwrapped(wrapped)


def test_a_twin_as_source_of_a_conversion_is_told_to_save_itself():
    with pytest.raises(ConversionError, match=r"model\.save_pretrained\(path\)"):
        open_source(twin(), Asked())
