import pytest
import torch


@pytest.fixture
def one_thread():
    """Small matrices and sorts are several times slower on many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
