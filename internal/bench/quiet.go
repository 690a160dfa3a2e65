package main

import (
	"io"
	"log/slog"

	"github.com/go-kratos/kratos/v2/log"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/stat"
	"google.golang.org/grpc/grpclog"
)

// quiet has nobody write a log, ourselves included: writing it is not what is measured.
func quiet() {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	logx.Disable()
	stat.DisableLog()
	log.SetLogger(log.NewFilter(log.NewStdLogger(io.Discard), log.FilterLevel(log.LevelFatal)))
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
}
