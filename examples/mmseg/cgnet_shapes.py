"""Train MMSegmentation's CGNet on coloured shapes, with all of it reported: one entry in `custom_hooks`.

Everything else is what training on one's own data takes anyway. README.md, beside this file, has the commands.
"""

_base_ = "mmseg::cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py"

custom_hooks = [dict(type="trainer_hooks.TrainerHook")]

size = (64, 64)
norm = dict(type="BN", eps=1e-03, requires_grad=True)  # the base's needs several GPUs
model = dict(
    data_preprocessor=dict(size=size),
    backbone=dict(norm_cfg=norm),
    decode_head=dict(
        num_classes=3, norm_cfg=norm, loss_decode=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=False)
    ),
)

load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
shapes = dict(
    type="BaseSegDataset",
    data_root="data/",
    img_suffix=".png",
    seg_map_suffix=".png",
    metainfo=dict(
        classes=("background", "rectangle", "trapezoid"), palette=[[128, 128, 128], [220, 50, 50], [60, 90, 230]]
    ),
)
train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        **shapes,
        data_prefix=dict(img_path="images/train", seg_map_path="masks/train"),
        pipeline=[*load, dict(type="RandomFlip", prob=0.5), dict(type="PackSegInputs")],
    ),
)
val_dataloader = dict(
    _delete_=True,
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **shapes,
        data_prefix=dict(img_path="images/val", seg_map_path="masks/val"),
        pipeline=[*load, dict(type="PackSegInputs")],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator

train_cfg = dict(type="IterBasedTrainLoop", max_iters=20, val_interval=10)
# The base's schedule is made for sixty thousand iterations.
param_scheduler = None
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=10, max_keep_ckpts=1, save_best="mIoU"),
    logger=dict(type="LoggerHook", interval=5),
)
randomness = dict(seed=0)
