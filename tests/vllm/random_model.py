"""Writes a random model with a tokenizer: random_model.py FOLDER LAYERS HIDDEN SHARD [tied|experts].

It is a Llama of LAYERS with HIDDEN numbers, in files of at most SHARD bytes; tied, its
lm_head and embeddings are one tensor. With experts it is a Mixtral of four.
"""
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerFast

folder, layers, hidden, shard = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
kind = sys.argv[5] if len(sys.argv) > 5 else ""

tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
text = ["the quick brown fox jumps over the lazy dog " * 20, "weights are loaded from a bucket " * 20]
tokenizer.train_from_iterator(text, trainers.BpeTrainer(
    vocab_size=512, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>").save_pretrained(folder)

torch.manual_seed(0)
torch.set_default_dtype(torch.float16)
settings = dict(
    vocab_size=512, hidden_size=hidden, intermediate_size=hidden * 11 // 4, num_hidden_layers=layers,
    num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
    tie_word_embeddings=kind == "tied", dtype=torch.float16)
if kind == "experts":
    model = MixtralForCausalLM(MixtralConfig(num_local_experts=4, **settings))
else:
    model = LlamaForCausalLM(LlamaConfig(**settings))
model.save_pretrained(folder, max_shard_size=shard)
