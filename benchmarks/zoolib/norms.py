"""One small network with every kind of norm: batch, group, layer, instance, RMS."""

from torch import Tensor, nn


class EveryNorm(nn.Module):
    """Convolutions with batch, group and instance norms, then tokens with layer and RMS norms."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.batch = nn.BatchNorm2d(16)
        self.conv1 = nn.Conv2d(16, 24, 3, padding=1)
        self.group = nn.GroupNorm(4, 24)
        self.conv2 = nn.Conv2d(24, 32, 3, stride=2, padding=1)
        self.instance = nn.InstanceNorm2d(32, affine=True)
        self.conv3 = nn.Conv2d(32, 20, 3, stride=2, padding=1)
        self.plain_instance = nn.InstanceNorm2d(20)
        self.embed = nn.Conv2d(20, 28, 2, stride=2)
        self.layer = nn.LayerNorm(28)
        self.up = nn.Linear(28, 56)
        self.rms = nn.RMSNorm(56)
        self.down = nn.Linear(56, 28)
        self.head = nn.Linear(28, num_classes)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, [N classes], for images [N 3 H W]."""
        x = self.act(self.batch(self.stem(x)))
        x = self.act(self.group(self.conv1(x)))
        x = self.act(self.instance(self.conv2(x)))
        x = self.act(self.plain_instance(self.conv3(x)))
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.down(self.act(self.rms(self.up(self.layer(tokens)))))
        return self.head(tokens.mean(dim=1))
