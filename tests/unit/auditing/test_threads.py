"""The number of threads changes how long an audit takes, and no number that it prints."""

import pytest
import torch
from conftest import trained

import unspan

# when the report was made, how long it took, and what is computed from both
OF_THE_RUN = ("- **Audited**", "| created |", "| total |")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("fresh_fits", "one_thread")
def test_one_and_two_threads_print_the_same_numbers(digits_net, digits_request, tmp_path):
    erased = unspan.erase(digits_net, digits_request, unspan.ESC(rank=1))
    retrained = [trained(digits_request.retain, seed=1)]
    pages = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found = unspan.audit(
            digits_net,
            erased,
            digits_request,
            references=retrained,
            cache=tmp_path / str(threads),
            pictures=False,
        )
        lines = found.to_markdown().splitlines()
        own = [line for line in lines if found.record.seal not in line]
        pages.append([line for line in own if not line.startswith(OF_THE_RUN)])
    assert len(pages[0]) > 100
    assert [pair for pair in zip(*pages, strict=True) if pair[0] != pair[1]] == []
