"""Named one-way steps: what changes a model on the way, asked for and written down.

A table between two dialects is a bijection; everything else is a step. Steps work on
canonical tensors, one at a time, and are taken in this order, whatever the order they
were asked in:

1. `allow_missing`: tensors that the source lacks are drawn;
2. `output`: the head, or head and pooling, are left out;
3. `num_classes`: another head is drawn;
4. `in_chans`: the patch kernel takes another number of channels;
5. `inflate`: an image model becomes one for volumes;
6. `patch_size`: the patch kernel is resized;
7. `image_size`: the position table is resampled to the final grid;
8. folds, where the target's names have no place for a tensor;
9. the cast to another type. A cast to a wider type comes first instead: it changes no
   value, and what the steps compute is then rounded to that type only.

Steps compute in float64 (`in_chans` in float32, as timm) and round once, to the type of
the weights. Each is a text in the report and in `config.source.steps`, with all that is
needed to do it again.
"""
