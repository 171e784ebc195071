"""Conservation under chaos: real trainings are killed and cut off at random moments, until an attempt completes.

    plan        what goes wrong and when, drawn from one seed
    training    the trainings: the hosts', and a hand-written loop; each keeps a record of its own of what it told
    launch      one process of such a training
    baseline    the same training without us
    weather     the faults between us and the platform and the storage, while they last
    witness     looks at the storage while others write to it
    survival    runs one plan to its end, and gathers what is left
    evidence    what is gathered, as plain values
    books       reads it
    oracle      judges the evidence by the promises; it imports nothing of trainer_hooks
    mutations/  breaks trainer_hooks on purpose in the processes of a test: the oracle has to notice

`make chaos` runs twenty seeds; `make chaos SEED=17` that one, `make chaos SEEDS=200` that many.
"""
