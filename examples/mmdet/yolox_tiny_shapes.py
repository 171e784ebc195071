"""Train MMDetection's YOLOX-tiny on coloured shapes, with all of it reported: one entry more in `custom_hooks`.

Everything else is what training on one's own data takes anyway. README.md, beside this file, has the commands.
"""

_base_ = "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py"

# The last of the base's hooks keeps a moving average of the weights; its others belong to the mosaics left out here.
custom_hooks = [_base_.custom_hooks[-1], dict(type="trainer_hooks.TrainerHook")]

model = dict(
    data_preprocessor=dict(batch_augments=None),
    bbox_head=dict(num_classes=2),
    test_cfg=dict(score_thr=0.0),  # after so few images, nothing would be found that the base counts as found
)

load = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(128, 128)),
]
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
train_pipeline = [*load, dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")]
test_pipeline = [*load, dict(type="PackDetInputs", meta_keys=meta_keys)]
shapes = dict(type="CocoDataset", data_root="data/", metainfo=dict(classes=("rectangle", "trapezoid")))

train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        **shapes,
        ann_file="annotations/train.json",
        data_prefix=dict(img="images/train/"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **shapes,
        ann_file="annotations/val.json",
        data_prefix=dict(img="images/val/"),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type="CocoMetric", ann_file="data/annotations/val.json", metric="bbox")
test_evaluator = val_evaluator

max_epochs = 2
train_cfg = dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
# The base's schedules are made for three hundred epochs.
param_scheduler = None
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best="coco/bbox_mAP"),
    logger=dict(interval=1),
)
randomness = dict(seed=0)
