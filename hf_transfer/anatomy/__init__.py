"""How a model is built, asked of the model itself: the only files that know.

`layer_groups` reads any AutoModel (timm-wrapped and PEFT-wrapped ones too) as an ordered list of groups:
`embeddings`, `block.1` .. `block.n`, `head`. It reads module trees, names and the source of `forward`, never runs the
model, and so works on the meta device. Whatever freezes, decays or adapts layers is written on this list.
"""

from hf_transfer.anatomy.groups import EMBEDDINGS as EMBEDDINGS
from hf_transfer.anatomy.groups import HEAD as HEAD
from hf_transfer.anatomy.groups import LayerGroup as LayerGroup
from hf_transfer.anatomy.groups import head_leaves as head_leaves
from hf_transfer.anatomy.groups import head_modules as head_modules
from hf_transfer.anatomy.groups import is_copy as is_copy
from hf_transfer.anatomy.groups import layer_groups as layer_groups
from hf_transfer.anatomy.groups import linear_layers as linear_layers
from hf_transfer.anatomy.groups import max_positions as max_positions
from hf_transfer.anatomy.groups import named_groups as named_groups
from hf_transfer.anatomy.groups import unwrapped as unwrapped
