"""Train a tiny BERT with transformers' Trainer and have all of it reported: one line more than without trainer_hooks.

    python examples/huggingface.py

The model is made from a configuration; nothing is downloaded.
"""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import trainer_hooks

trainer_hooks.autolog("transformers")


def sentences(count: int) -> list[dict[str, torch.Tensor]]:
    """Random words, and one in each sentence that tells its class."""
    words = torch.randint(10, 100, (count, 8))
    labels = torch.arange(count) % 2
    words[:, 3] = 1 + labels
    return [{"input_ids": words[place], "labels": labels[place]} for place in range(count)]


config = BertConfig(
    vocab_size=100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=2
)
arguments = TrainingArguments(
    output_dir="out",
    num_train_epochs=3,
    per_device_train_batch_size=16,
    learning_rate=0.01,
    logging_strategy="epoch",
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    metric_for_best_model="loss",
    report_to="none",
    use_cpu=True,
)
model = BertForSequenceClassification(config)
Trainer(model, arguments, train_dataset=sentences(128), eval_dataset=sentences(32)).train()
