"""Networks, checks and tables of the model zoo benchmarks."""

from sentei.models.torchvision_models import import_torchvision

# timm imports torchvision, which fails where its binary does not match torch's build.
import_torchvision()
