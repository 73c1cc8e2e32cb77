import subprocess
import sys

_COUNT_PAGE_FAULTS = """
import resource, torch
from latentry_trainer.training.device import prepare_cpu
from latentry_trainer.variants.conv import Conv

prepare_cpu(num_threads=1)
variant, images = Conv(Conv.Config(), (1, 28, 28)), torch.rand(32, 1, 28, 28)
for step in range(15):
    if step == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    variant.decode(variant.encode(images)).mean().backward()
print(torch.get_num_threads(), (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


# Without the allocator's settings, a step takes more than a thousand pages anew.
def test_a_step_uses_the_memory_of_the_step_before() -> None:
    command = [sys.executable, "-c", _COUNT_PAGE_FAULTS]
    num_threads, faults_a_step = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(num_threads) == 1
    assert float(faults_a_step) < 100
