"""transformers' own models, live: equal outputs, and mutants refused."""

from __future__ import annotations

import pytest

from tests.live.common import check_outputs, inputs, randomised, read, refused

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
if int(transformers.__version__.split(".")[0]) < 5:
    pytest.skip("live modules are those of transformers 5", allow_module_level=True)
nn = torch.nn

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": 32,
    "patch_size": 8,
}
MLP = {"intermediate_size": 40}
TOKENS, POOLED, LOGITS, IMAGE = (
    "last_hidden_state",
    "pooler_output",
    "logits",
    "image_embeds",
)
ODD = {
    "num_labels": 4,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-3,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.2,
    "qkv_bias": False,
    "image_size": (32, 16),
}
MODELS = [
    # config, model, output, fields
    ("ViT", "ViTModel", TOKENS, MLP),
    ("ViT", "ViTForImageClassification", LOGITS, {**MLP, **ODD}),
    ("DeiT", "DeiTModel", TOKENS, MLP),
    ("DeiT", "DeiTForImageClassification", LOGITS, {**MLP, "num_labels": 3}),
    ("DeiT", "DeiTForImageClassificationWithTeacher", LOGITS, {**MLP, "num_labels": 3}),
    ("ViTMSN", "ViTMSNForImageClassification", LOGITS, MLP),
    ("IJepa", "IJepaModel", TOKENS, MLP),
    ("IJepa", "IJepaForImageClassification", LOGITS, MLP),
    ("Dinov2", "Dinov2Model", TOKENS, {"use_swiglu_ffn": True}),
    ("Dinov2", "Dinov2ForImageClassification", LOGITS, {"num_labels": 5}),
    ("Dinov2WithRegisters", "Dinov2WithRegistersModel", TOKENS, {}),
    ("CLIPVision", "CLIPVisionModel", POOLED, MLP),
    (
        "CLIPVision",
        "CLIPVisionModelWithProjection",
        IMAGE,
        {**MLP, "projection_dim": 9},
    ),
    ("SiglipVision", "SiglipVisionModel", POOLED, MLP),
    ("SiglipVision", "SiglipVisionModel", TOKENS, {**MLP, "vision_use_head": False}),
]


def make(config: str, model: str, fields: dict):
    given = {**SIZES, **fields}
    return getattr(transformers, model)(
        getattr(transformers, f"{config}Config")(**given)
    )


def vit():
    return make("ViT", "ViTForImageClassification", MLP)


@pytest.mark.parametrize("config, model, output, fields", MODELS)
def test_outputs(config, model, output, fields):
    size = fields.get("image_size", (32, 32))
    twin = check_outputs(
        make(config, model, fields),
        inputs(2, 3, *size),
        given=lambda y: getattr(y, output),
    )
    found = twin.config
    assert found.norm_eps == fields.get("layer_norm_eps", found.norm_eps)
    assert found.source.dialect.startswith("huggingface@")


def test_from_pretrained_takes_a_model_and_another_head():
    import torch_vit

    model = randomised(vit())
    x = inputs(2, 3, 32, 32)
    twin = torch_vit.ViT.from_pretrained(model).eval()
    before = twin(x).detach().clone()
    torch.testing.assert_close(before, model(x).logits, rtol=1e-5, atol=1e-5)
    with torch.no_grad():  # they share no memory
        model.classifier.bias.add_(1)
    torch.testing.assert_close(twin(x), before, rtol=0, atol=0)
    other = torch_vit.ViT.from_pretrained(model, num_classes=7)
    assert other(x).shape == (2, 7)


def test_video():
    given = {**SIZES, **MLP, "num_frames": 4, "tubelet_size": [2, 8, 8]}
    del given["patch_size"]
    model = transformers.VivitForVideoClassification(transformers.VivitConfig(**given))
    twin = check_outputs(
        model,
        inputs(2, 4, 3, 32, 32),
        given=lambda y: y.logits,
        ours=lambda x: x.transpose(1, 2),
    )
    assert twin.config.img_size == (4, 32, 32)


def test_classifier_of_siglip():
    config = transformers.SiglipConfig(
        # ids that the text model, which is not read, has tokens for
        text_config={"bos_token_id": 0, "eos_token_id": 1},
        vision_config={**SIZES, **MLP},
        num_labels=4,
    )
    model = transformers.SiglipForImageClassification(config)
    twin = check_outputs(model, inputs(2, 3, 32, 32), given=lambda y: y.logits)
    assert (twin.config.global_pool, twin.config.num_classes) == ("avg", 4)


def videomae(model="VideoMAEForVideoClassification", **changes):
    return make("VideoMAE", model, {**MLP, "num_frames": 4, **changes})


@pytest.mark.parametrize(
    "model, output, changes",
    [
        ("VideoMAEForVideoClassification", LOGITS, {"num_labels": 3}),
        ("VideoMAEForVideoClassification", LOGITS, {"layer_norm_eps": 1e-3}),
        ("VideoMAEModel", TOKENS, {"qkv_bias": False, "use_mean_pooling": False}),
        ("VideoMAEModel", TOKENS, {"hidden_act": "relu", "image_size": (32, 16)}),
    ],
)
def test_videomae(model, output, changes):
    size = changes.get("image_size", (32, 32))
    twin = check_outputs(
        videomae(model, **changes),
        inputs(2, 4, 3, *size),
        given=lambda y: getattr(y, output),
        ours=lambda x: x.transpose(1, 2),
    )
    assert twin.config.img_size == (4, *size)
    assert twin.config.norm_eps == changes.get("layer_norm_eps", 1e-12)


def test_the_last_norm_of_videomae_has_its_own_epsilon():
    model = videomae()
    model.fc_norm.eps = 0.1
    x = inputs(2, 4, 3, 32, 32)
    twin = check_outputs(
        model, x, given=lambda y: y.logits, ours=lambda x: x.transpose(1, 2)
    )
    assert (twin.config.fc_norm_eps, twin.config.norm_eps) == (0.1, 1e-12)


def _table(model):
    table = model.videomae.embeddings.position_embeddings
    model.videomae.embeddings.position_embeddings = table.flip(1)


def _video_scaling(model):
    model.videomae.encoder.layer[1].attention.attention.scaling = 1.0


def _video_norm(model):
    model.fc_norm = nn.Identity()


@pytest.mark.parametrize(
    "mutant, name",
    [
        (_table, "videomae.embeddings.position_embeddings"),
        (_video_scaling, "videomae.encoder.layer.1.attention.attention.scale"),
        (_video_norm, "fc_norm"),
    ],
)
def test_videomae_mutants(mutant, name):
    model = videomae()
    mutant(model)
    refused(model, name)


def test_rates_labels_and_problem_are_carried():
    config = transformers.ViTConfig(
        **{**SIZES, **MLP, **ODD, "image_size": 32, "num_labels": 2},
        id2label={0: "cat", 1: "dog"},
        problem_type="single_label_classification",
    )
    found = read(transformers.ViTForImageClassification(config)).config
    assert found.labels == ("cat", "dog") and found.problem_type == "single_label"
    assert (found.pos_drop_rate, found.attn_drop_rate) == (0.1, 0.2)
    assert (found.act_layer, found.qkv_bias) == ("gelu_tanh", False)


def test_the_modules_stand_above_the_config():
    """Nothing reads the config again once the modules are made."""
    model = vit()
    model.config.layer_norm_eps, model.config.hidden_act = 0.5, "relu"
    assert read(model).config.norm_eps == 1e-12
    for layer in model.vit.layers:
        layer.mlp.activation_fn = transformers.activations.QuickGELUActivation()
    twin = check_outputs(model, inputs(2, 3, 32, 32), given=lambda y: y.logits)
    assert twin.config.act_layer == "quick_gelu"


def _eps(model):
    model.vit.layers[1].layernorm_after.eps = 1e-3


def _act(model):
    model.vit.layers[2].mlp.activation_fn = nn.GELU("tanh")


def _scaling(model):
    model.vit.layers[0].attention.scaling = 1.0


def _causal(model):
    model.vit.layers[0].attention.is_causal = True


def _lora(model):
    class Lora(nn.Linear):
        pass

    model.vit.layers[0].attention.q_proj = Lora(24, 24)


def _head(model):
    model.classifier = nn.Sequential(nn.Linear(24, 8), nn.Linear(8, 2))


def _layer(model):
    class Adapted(type(model.vit.layers[0])):
        pass

    model.vit.layers[1].__class__ = Adapted


def _hook(model):
    model.vit.layers[1].register_forward_hook(lambda module, x, y: y)


def _drop(model):
    model.vit.layers[1].attention.attention_dropout = 0.5


def _field(model):
    model.config.use_gate = True


def _identity(model):
    model.vit.layernorm = nn.Identity()


@pytest.mark.parametrize(
    "mutant, names",
    [
        (_eps, ["vit.layers.1.layernorm_after"]),
        (_act, ["vit.layers.2.mlp.activation_fn"]),
        (_scaling, ["vit.layers.0.attention.scale"]),
        (_causal, ["vit.layers.0.attention.is_causal"]),
        (_lora, ["vit.layers.0.attention.q_proj"]),
        (_head, ["classifier"]),
        (_layer, ["vit.layers.1"]),
        (_hook, ["vit.layers.1"]),
        (_drop, ["vit.layers.1.attention"]),
        (_identity, ["vit.layernorm"]),
    ],
)
def test_mutants(mutant, names):
    model = vit()
    mutant(model)
    refused(model, *names)


def test_positions_that_are_looked_up_in_another_order():
    model = make("CLIPVision", "CLIPVisionModel", MLP)
    path, part = next(
        (path, part)
        for path, part in model.named_modules()
        if hasattr(part, "position_ids")
    )
    part.position_ids = part.position_ids.flip(-1)
    refused(model, f"{path}.position_ids")


def test_attention_that_somebody_registered():
    def of_values(module, query, key, value, mask, **more):
        return value.transpose(1, 2), None

    transformers.AttentionInterface.register("of_values", of_values)
    for name in ("sdpa", "eager"):
        model = vit()
        model.set_attn_implementation(name)
        read(model)
    model.set_attn_implementation("of_values")
    refused(model, *(f"vit.layers.{i}.attention.config" for i in range(3)))


def test_a_method_put_into_a_class(monkeypatch):
    model = vit()
    kind = type(model.vit.layers[0])
    monkeypatch.setattr(kind, "forward", lambda self, x, *rest, **more: x)
    refused(model, f"{kind.__module__}.{kind.__qualname__}.forward")


def test_a_subclass_of_another_name():
    class Trained(transformers.ViTForImageClassification):
        def __init__(self, config):
            super().__init__(config)

    read(Trained(transformers.ViTConfig(**SIZES, **MLP)))


def test_a_config_with_more_in_it():
    model = vit()
    _field(model)
    with pytest.raises(ValueError, match="use_gate"):
        read(model)


def test_stochastic_depth_of_one_rate():
    model = make("Dinov2", "Dinov2Model", {})
    model.encoder.layer[1].drop_path = nn.Dropout(0.2)
    refused(model, "encoder.layer.1.drop_path")


def test_pruned_heads():
    model = vit()
    attention = model.vit.layers[1].attention
    attention.num_attention_heads = 2
    for name in "qkv":
        setattr(attention, f"{name}_proj", nn.Linear(24, 16))
    attention.o_proj = nn.Linear(16, 24)
    refused(model, "vit.layers.1.attention")


def test_the_config_is_the_model_s_own():
    refused(vit(), "img_size", img_size=64)
